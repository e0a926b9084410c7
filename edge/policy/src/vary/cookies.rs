//! Chosen cookies.

use crate::fields;

/// The first cookie of each of these names, in the order of the names, as `Cookie` writes them
/// (RFC 6265 §4.2).
pub(super) fn only<'a>(value: &[u8], names: impl Iterator<Item = &'a String>) -> Vec<u8> {
    let pairs: Vec<&[u8]> = value
        .split(|&byte| byte == b';')
        .map(fields::trim)
        .collect();
    let mut chosen: Vec<&[u8]> = Vec::new();
    for name in names {
        let found = pairs.iter().find(|pair| is_named(pair, name));
        if let Some(pair) = found
            && !chosen.iter().any(|pair| is_named(pair, name))
        {
            chosen.push(pair);
        }
    }
    chosen.join(&b"; "[..])
}

fn is_named(pair: &[u8], name: &str) -> bool {
    pair.strip_prefix(name.as_bytes())
        .is_some_and(|rest| rest.starts_with(b"="))
}

#[cfg(test)]
mod tests {
    use super::super::{Cookies, VaryRules};
    use crate::testing::headers;
    use http::header::COOKIE;

    fn rules() -> VaryRules {
        VaryRules {
            cookies: Cookies::Only(vec!["currency".to_owned(), "beta".to_owned()]),
            ..VaryRules::default()
        }
    }

    #[test]
    #[rustfmt::skip]
    fn chosen_cookies_count_and_no_others() {
        #[track_caller]
        fn check(cookie: &str, expected: Option<&str>) {
            let request = headers(&[("cookie", cookie)]);
            let found = rules().normalised(&COOKIE, &request);
            assert_eq!(found.as_deref(), expected.map(str::as_bytes), "{cookie}");
        }
        check("session=1; currency=EUR; x=2",  Some("currency=EUR"));
        check("beta=1;currency=EUR",           Some("currency=EUR; beta=1"));
        check(" currency=EUR ;beta=1 ",        Some("currency=EUR; beta=1"));
        check("currency=EUR; currency=USD",    Some("currency=EUR"));
        check("currency=",                     Some("currency="));
        check("session=1",                     None);
        check("currency",                      None);
        check("currency2=EUR; Currency=EUR",   None);
        check("",                              None);
        assert_eq!(rules().normalised(&COOKIE, &headers(&[])), None);
        let lines = headers(&[("cookie", "a=1; beta=1"), ("cookie", "currency=EUR")]);
        assert_eq!(rules().normalised(&COOKIE, &lines).as_deref(), Some(&b"currency=EUR; beta=1"[..]));
    }

    #[test]
    fn the_origin_sees_the_cookies_that_count_and_those_of_the_key() {
        #[track_caller]
        fn check(asked: &[(&str, &str)], keyed: &[&str], forwarded: &[(&str, &str)]) {
            let keyed: Vec<_> = keyed.iter().copied().map(str::to_owned).collect();
            let mut request = headers(asked);
            rules().rewrite_cookies(&mut request, &keyed);
            assert_eq!(request, headers(forwarded));
        }
        let sent = [("cookie", "session=1; beta=1; plan=a"), ("x", "y")];
        check(&sent, &[], &[("cookie", "beta=1"), ("x", "y")]);
        check(
            &sent,
            &["plan", "beta"],
            &[("cookie", "beta=1; plan=a"), ("x", "y")],
        );
        check(&[("cookie", "session=1")], &[], &[]);
        let mut all = headers(&sent);
        VaryRules::default().rewrite_cookies(&mut all, &[]);
        assert_eq!(all, headers(&sent));
    }
}
