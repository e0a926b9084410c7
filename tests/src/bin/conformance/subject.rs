//! What is tested: Larder with one of two sets of settings, or a proxy that runs already.

use larder_tests::{Node, Settings};

/// Two answers to the question what the standard's text wants where safety wants something else.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Profile {
    /// The defaults.
    Shipped,
    /// As the suite reads the text: responses with `Set-Cookie` are stored when their freshness
    /// is explicit (RFC 9111 §7.3 only warns of them), and an unknown transfer coding is read
    /// until the connection closes instead of being refused (RFC 9112 §6.3). Beyond the text, a
    /// response in the language wanted most will do (RFC 9111 §4.1).
    Literal,
}

pub(crate) enum Subject {
    Larder(Box<Node>),
    Proxy(String),
}

impl Profile {
    pub(crate) fn parse(name: &str) -> Result<Self, String> {
        match name {
            "shipped" => Ok(Self::Shipped),
            "literal" => Ok(Self::Literal),
            _ => Err(format!("{name} is not a profile: `shipped` or `literal`")),
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Shipped => "shipped",
            Self::Literal => "literal",
        }
    }

    fn settings(self, origin: &str) -> Settings {
        let settings = Settings::origins(&[origin]).table("log", "access = \"off\"");
        match self {
            Self::Shipped => settings,
            Self::Literal => settings
                .site("set_cookie = \"store\"")
                .site("unknown_transfer_coding = \"until-close\"")
                .site("vary = { accept_language = \"preferred\" }"),
        }
    }
}

impl Subject {
    pub(crate) async fn start(proxy: Option<&str>, origin_port: u16, profile: Profile) -> Self {
        if let Some(url) = proxy {
            return Self::Proxy(url.to_owned());
        }
        let origin = format!("http://127.0.0.1:{origin_port}");
        Self::Larder(Box::new(Node::start(profile.settings(&origin)).await))
    }

    /// Without a slash at the end, which the suite's client would double.
    pub(crate) fn url(&self) -> String {
        match self {
            Self::Larder(node) => format!("http://{}", node.address()),
            Self::Proxy(url) => url.clone(),
        }
    }
}
