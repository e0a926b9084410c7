//! What is tested: Larder with one of two sets of settings, alone or in front of another, or a proxy that runs already.

use larder_tests::{Node, Settings, Tiers as Keyed};

use crate::options::Options;

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
    TwoTiers(Box<TwoTiers>),
    Proxy(String),
}

/// One node is the parent of the other. Both are needed until the run is over.
pub(crate) struct TwoTiers {
    edge: Node,
    _parent: Node,
    _tiers: Keyed,
}

/// How many nodes a request passes on its way to the origin.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) enum Tiers {
    #[default]
    One,
    Two,
}

impl Tiers {
    pub(crate) fn parse(number: &str) -> Result<Self, String> {
        match number {
            "1" => Ok(Self::One),
            "2" => Ok(Self::Two),
            _ => Err(format!("{number} is not a number of tiers: `1` or `2`")),
        }
    }
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
    pub(crate) async fn start(options: &Options, origin_port: u16, profile: Profile) -> Self {
        if let Some(url) = &options.proxy {
            return Self::Proxy(url.clone());
        }
        let origin = format!("http://127.0.0.1:{origin_port}");
        match options.tiers {
            Tiers::One => Self::Larder(Box::new(Node::start(profile.settings(&origin)).await)),
            Tiers::Two => Self::TwoTiers(Box::new(TwoTiers::start(&origin, profile).await)),
        }
    }

    /// Without a slash at the end, which the suite's client would double.
    pub(crate) fn url(&self) -> String {
        match self {
            Self::Larder(node) => format!("http://{}", node.address()),
            Self::TwoTiers(nodes) => format!("http://{}", nodes.edge.address()),
            Self::Proxy(url) => url.clone(),
        }
    }
}

impl TwoTiers {
    /// The edge asks its parent as nodes of tiers do, and the origin only past it.
    async fn start(origin: &str, profile: Profile) -> Self {
        let tiers = Keyed::before(origin);
        let parent = tiers.join("parent", profile.settings(origin));
        let parent = Node::start(parent.table("tier", "role = \"parent\"")).await;
        let parents = format!("parents = [\"http://{}\"]", parent.address());
        let edge = tiers.join("edge", profile.settings(origin));
        let edge = edge.table("tier", &parents);
        // What passes the cache goes the same way: the suite looks at what it is told of every hop.
        let edge = Node::start(edge.table("tier", "pass = \"parent\"")).await;
        Self {
            edge,
            _parent: parent,
            _tiers: tiers,
        }
    }
}
