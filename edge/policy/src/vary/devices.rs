//! Classes of devices, by what their `User-Agent` says.

use http::header::HeaderName;

/// The field that tells the origin the class of the device; a client's own is replaced.
pub const DEVICE_CLASS: HeaderName = HeaderName::from_static("x-device-class");

/// The class of what fits no other.
const OTHER: &str = "other";

/// A class of devices.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceClass {
    /// What it is called.
    pub name: String,
    /// A device belongs to it whose `User-Agent` has one of these in it, whatever the case.
    pub words: Vec<String>,
}

/// The name of the first class that a `User-Agent` belongs to.
pub(super) fn class_of<'a>(user_agent: &[u8], classes: &'a [DeviceClass]) -> &'a str {
    let has = |word: &String| {
        let mut places = user_agent.windows(word.len().max(1));
        places.any(|place| place.eq_ignore_ascii_case(word.as_bytes()))
    };
    let class = classes.iter().find(|class| class.words.iter().any(has));
    class.map_or(OTHER, |class| &class.name)
}

#[cfg(test)]
mod tests {
    use super::super::{UserAgent, VaryRules};
    use super::*;
    use crate::testing::headers;
    use http::header::USER_AGENT;

    fn rules() -> VaryRules {
        let class = |name: &str, words: &[&str]| DeviceClass {
            name: name.to_owned(),
            words: words.iter().copied().map(str::to_owned).collect(),
        };
        VaryRules {
            user_agent: UserAgent::Classes(vec![
                class("tablet", &["iPad", "Tablet"]),
                class("phone", &["Mobi"]),
            ]),
            ..VaryRules::default()
        }
    }

    #[test]
    #[rustfmt::skip]
    fn the_first_class_that_fits_counts() {
        #[track_caller]
        fn check(lines: &[(&str, &str)], expected: &str) {
            for name in [USER_AGENT, DEVICE_CLASS] {
                let found = rules().normalised(&name, &headers(lines));
                assert_eq!(found.as_deref(), Some(expected.as_bytes()), "{lines:?}");
            }
        }
        check(&[("user-agent", "Mozilla/5.0 (iPhone) Mobile/15E148")], "phone");
        check(&[("user-agent", "Mozilla/5.0 (iPad) Mobile/15E148")],   "tablet");
        check(&[("user-agent", "x MOBI y")],                           "phone");
        check(&[("user-agent", "Mozilla/5.0 (X11; Linux)")],           "other");
        check(&[("user-agent", "")],                                   "other");
        check(&[],                                                     "other");
        check(&[("x-device-class", "phone")],                          "other");
    }

    #[test]
    fn the_origin_is_told_the_class_and_believes_no_client() {
        let mut request = headers(&[("user-agent", "Mobi"), ("x-device-class", "tablet")]);
        rules().rewrite(&mut request);
        let told = headers(&[("user-agent", "Mobi"), ("x-device-class", "phone")]);
        assert_eq!(request, told);
    }
}
