//! The cache-deception guard: paths that promise one thing and bring another.
//!
//! An application that answers `/account/x.css` with the page of `/account` has that page stored
//! under a name that anybody can ask for, as soon as stylesheets are. What a path promises is compared
//! with what the response is; and a path that an origin may resolve to another one is not stored.

use std::borrow::Cow;

use http::StatusCode;
use http::header::{self, HeaderMap};

use crate::fields;
use crate::settings::DeceptionGuard;
use crate::store::DoNotStore;

/// Whether a response for `path`, as it was sent and without its query, may be stored as what the path
/// promises.
///
/// # Errors
///
/// [`DoNotStore::Path`] and [`DoNotStore::Suffix`].
pub fn check(
    path: &str,
    status: StatusCode,
    response: &HeaderMap,
    guard: DeceptionGuard,
) -> Result<(), DoNotStore> {
    if guard == DeceptionGuard::Off {
        return Ok(());
    }
    // Twice: some servers decode what their proxy has decoded already.
    let decoded = decode(path.as_bytes());
    let decoded = decode(&decoded);
    if leads_elsewhere(&decoded) {
        return Err(DoNotStore::Path);
    }
    if status.is_success() && !keeps_its_promise(&decoded, response) {
        return Err(DoNotStore::Suffix);
    }
    Ok(())
}

/// Percent-decoding (RFC 3986 §2.1); what is no encoding stays.
fn decode(path: &[u8]) -> Cow<'_, [u8]> {
    if !path.contains(&b'%') {
        return Cow::Borrowed(path);
    }
    let mut decoded = Vec::with_capacity(path.len());
    let mut rest = path;
    while let Some((&first, after)) = rest.split_first() {
        let octet = match (first, after) {
            (b'%', [high, low, ..]) => hex(*high).zip(hex(*low)),
            _ => None,
        };
        match octet {
            Some((high, low)) => {
                decoded.push(high << 4 | low);
                rest = &after[2..];
            }
            None => {
                decoded.push(first);
                rest = after;
            }
        }
    }
    Cow::Owned(decoded)
}

fn hex(digit: u8) -> Option<u8> {
    let value = char::from(digit).to_digit(16)?;
    u8::try_from(value).ok()
}

const fn separates_segments(byte: &u8) -> bool {
    matches!(byte, b'/' | b'\\')
}

/// What ends a segment for one server or another: a path parameter, a query, a fragment, the end of
/// a string or a line.
const fn ends_segment(byte: &u8) -> bool {
    matches!(byte, b';' | b'?' | b'#' | 0 | b'\r' | b'\n')
}

/// Whether an origin may take the path for another one: it has dot segments, also with a parameter
/// (`..;`), or an octet that ends strings.
fn leads_elsewhere(path: &[u8]) -> bool {
    path.contains(&0)
        || path.split(separates_segments).any(|segment| {
            let name = segment.split(ends_segment).next().unwrap_or_default();
            matches!(name, b"." | b"..")
        })
}

/// Whether the content is what the suffixes of the last segment say. A response that does not tell
/// its type, or tells none in particular, shows nobody's page.
fn keeps_its_promise(path: &[u8], response: &HeaderMap) -> bool {
    let Some(media_type) = media_type(response) else {
        return true;
    };
    let last = path.split(separates_segments).next_back();
    let mut parts = last.unwrap_or_default().split(ends_segment);
    parts.all(|part| Promise::of(part).is_none_or(|promise| promise.fits(&media_type)))
}

/// The type in lower case, without parameters (RFC 9110 §8.3.1).
fn media_type(response: &HeaderMap) -> Option<String> {
    let value = fields::sole(response, header::CONTENT_TYPE)?;
    let essence = fields::split(value, b';').next()?;
    let essence = std::str::from_utf8(fields::trim(essence)).ok()?;
    let essence = essence.to_ascii_lowercase();
    let unspecific = ["", "application/octet-stream", "binary/octet-stream"];
    (!unspecific.contains(&essence.as_str())).then_some(essence)
}

/// What a suffix promises. Only of files that look alike to everybody; a page may be called anything.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
enum Promise {
    Stylesheet,
    Script,
    Image,
    Font,
    Sound,
    Text,
    Table,
    Module,
    /// An archive, a document, a program.
    Binary,
}

impl Promise {
    fn of(name: &[u8]) -> Option<Self> {
        let dot = name.iter().rposition(|&byte| byte == b'.')?;
        let suffix = name[dot + 1..].to_ascii_lowercase();
        Some(match &*suffix {
            b"css" => Self::Stylesheet,
            b"js" | b"mjs" | b"cjs" => Self::Script,
            b"apng" | b"avif" | b"bmp" | b"cur" | b"gif" | b"heic" | b"ico" | b"jpeg" | b"jpg"
            | b"jxl" | b"png" | b"svg" | b"svgz" | b"tif" | b"tiff" | b"webp" => Self::Image,
            b"eot" | b"otf" | b"ttf" | b"woff" | b"woff2" => Self::Font,
            b"aac" | b"avi" | b"flac" | b"m4a" | b"m4s" | b"m4v" | b"mid" | b"mkv" | b"mov"
            | b"mp3" | b"mp4" | b"mpeg" | b"mpg" | b"oga" | b"ogg" | b"ogv" | b"opus" | b"wav"
            | b"weba" | b"webm" => Self::Sound,
            b"txt" => Self::Text,
            b"csv" => Self::Table,
            b"wasm" => Self::Module,
            b"7z" | b"apk" | b"bin" | b"bz2" | b"class" | b"deb" | b"dmg" | b"doc" | b"docx"
            | b"ejs" | b"eps" | b"exe" | b"gz" | b"iso" | b"jar" | b"msi" | b"pdf" | b"pict"
            | b"ppt" | b"pptx" | b"ps" | b"rar" | b"rpm" | b"swf" | b"tar" | b"tgz" | b"xls"
            | b"xlsx" | b"xz" | b"zip" | b"zst" => Self::Binary,
            _ => return None,
        })
    }

    fn fits(self, media_type: &str) -> bool {
        let (kind, subtype) = media_type.split_once('/').unwrap_or((media_type, ""));
        match self {
            Self::Stylesheet => media_type == "text/css",
            Self::Script => subtype.ends_with("javascript") || subtype.ends_with("ecmascript"),
            Self::Image => kind == "image",
            Self::Font => kind == "font" || subtype.contains("font"),
            Self::Sound => matches!(kind, "audio" | "video") || matches!(subtype, "ogg" | "mp4"),
            Self::Text => media_type == "text/plain",
            Self::Table => kind == "text" && subtype != "html" || subtype.ends_with("excel"),
            Self::Module => subtype == "wasm",
            Self::Binary => kind != "text" && !is_data(subtype),
        }
    }
}

/// What pages and answers of programs are written in.
fn is_data(subtype: &str) -> bool {
    let syntax = subtype.rsplit('+').next().unwrap_or(subtype);
    matches!(
        syntax,
        "json" | "xml" | "html" | "javascript" | "ecmascript"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::headers;
    use proptest::prelude::*;

    fn judge(path: &str, status: u16, content_type: &str) -> Result<(), DoNotStore> {
        let status = StatusCode::from_u16(status).unwrap();
        let response = headers(&[("content-type", content_type)]);
        let off = check(path, status, &response, DeceptionGuard::Off);
        assert_eq!(off, Ok(()));
        check(path, status, &response, DeceptionGuard::On)
    }

    #[test]
    #[rustfmt::skip]
    fn a_suffix_is_a_promise_about_the_type() {
        #[track_caller]
        fn kept(path: &str, content_type: &str) {
            assert_eq!(judge(path, 200, content_type), Ok(()), "{path} {content_type}");
        }
        #[track_caller]
        fn broken(path: &str, content_type: &str) {
            assert_eq!(judge(path, 200, content_type), Err(DoNotStore::Suffix), "{path} {content_type}");
        }
        kept("/a.css",       "text/css; charset=utf-8");
        kept("/a.css",       "Text/CSS");
        kept("/a.css",       "application/octet-stream");
        kept("/a.js",        "text/javascript");
        kept("/a.mjs",       "application/x-javascript");
        kept("/a.svg",       "image/svg+xml");
        kept("/a.jpg",       "image/webp");
        kept("/a.woff",      "application/x-font-woff");
        kept("/a.eot",       "application/vnd.ms-fontobject");
        kept("/a.mp4",       "video/mp4");
        kept("/a.ogg",       "application/ogg");
        kept("/a.csv",       "text/plain");
        kept("/a.pdf",       "application/pdf");
        kept("/a.docx",      "application/vnd.openxmlformats-officedocument.wordprocessingml.document");
        kept("/a.zip",       "application/x-zip-compressed");
        kept("/robots.txt",  "text/plain");
        kept("/",            "text/html");
        kept("/a",           "text/html");
        kept("/a.css/",      "text/html");
        kept("/a.css/b",     "text/html");
        kept("/a.html",      "text/html");
        kept("/a.json",      "application/json");
        kept("/v1.2",        "application/json");
        kept("/a.css",       "");
        broken("/account/x.css",    "text/html");
        broken("/account/x.CSS",    "text/html; charset=utf-8");
        broken("/account/.css",     "text/html");
        broken("/api/me/x.js",      "application/json");
        broken("/account/x.png",    "application/xhtml+xml");
        broken("/account/x.svg",    "text/xml");
        broken("/account/x.pdf",    "text/html");
        broken("/api/me/x.zip",     "application/problem+json");
        broken("/account/x.txt",    "text/html");
        broken("/account/x.csv",    "text/html");
        broken("/account/x.woff2",  "text/html");
        broken("/account/x.mp4",    "text/plain");
    }

    #[test]
    fn delimiters_hide_no_suffix() {
        for path in [
            "/account;x.css",
            "/account;x.css;y",
            "/account%3bx.css",
            "/account%2Fx.css",
            "/account%252Fx.css",
            "/account%5cx.css",
            "/account%3fx.css",
            "/account%23x.css",
            "/account%0ax.css",
            "/account%0d%0ax.css",
            "/account/x%2ecss",
            "/account/x.%63ss",
            "/account/;/x.css",
            "/account/x.css;jsessionid=1",
            "/account/x.css%3fy",
        ] {
            assert_eq!(
                judge(path, 200, "text/html"),
                Err(DoNotStore::Suffix),
                "{path}"
            );
        }
        // Packages of a registry, for example.
        assert_eq!(judge("/@scope%2fname", 200, "application/json"), Ok(()));
        assert_eq!(judge("/a%2fb.css", 200, "text/css"), Ok(()));
        assert_eq!(judge("/100%", 200, "text/html"), Ok(()));
        assert_eq!(judge("/100%zz.html", 200, "text/html"), Ok(()));
    }

    #[test]
    fn a_path_that_may_lead_elsewhere_is_not_stored() {
        for path in [
            "/static/../account",
            "/static/..%2faccount",
            "/static/%2e%2e/account",
            "/static/%2e%2e%2faccount",
            "/static/%252e%252e%252faccount",
            "/static/..\\account",
            "/static/..%5caccount",
            "/static/..;/account",
            "/static/..;x=1/account",
            "/static/./account",
            "/static/..",
            "/account%00.css",
        ] {
            for content_type in ["text/html", "text/css"] {
                assert_eq!(
                    judge(path, 200, content_type),
                    Err(DoNotStore::Path),
                    "{path}"
                );
            }
        }
        for path in [
            "/...",
            "/..a",
            "/a..",
            "/.well-known/x",
            "/a%2e",
            "/v1..2/x",
        ] {
            assert_eq!(judge(path, 200, "text/html"), Ok(()), "{path}");
        }
    }

    #[test]
    fn errors_and_redirects_are_pages_under_any_name() {
        for status in [301, 302, 404, 410, 503] {
            assert_eq!(judge("/x.css", status, "text/html"), Ok(()));
        }
        for status in [200, 203, 299] {
            assert_eq!(
                judge("/x.css", status, "text/html"),
                Err(DoNotStore::Suffix)
            );
        }
    }

    proptest! {
        #[test]
        fn no_path_panics_and_html_never_has_the_name_of_an_asset(path in "/[ -~]{0,30}") {
            let verdict = judge(&path, 200, "text/html");
            if path.to_ascii_lowercase().ends_with(".css") {
                prop_assert!(verdict.is_err(), "{}", path);
            }
        }
    }
}
