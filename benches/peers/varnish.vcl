vcl 4.1;

backend origin {
    .host = "{origin_host}";
    .port = "{origin_port}";
}

sub vcl_backend_response {
    set beresp.grace = 0s;
}
