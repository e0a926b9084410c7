//! From `[admin]` and `[dialects]` to who may do what.

use config::model;
use purge_api::{Access, Dialect, Dialects, Grant, Permission, Token};

use crate::run::StartError;

/// Who may use the admin API: the one token for everything, and those for parts of it.
pub(super) fn access(admin: Token, tokens: Vec<model::AdminToken>) -> Result<Access, StartError> {
    let mut grants = vec![Grant::admin(admin)];
    for token in tokens {
        let model::AdminToken {
            name,
            file,
            may,
            sites,
            rate,
        } = token;
        let found = crate::token::read(&file).map_err(StartError::System)?;
        let may = may.into_iter().map(permission);
        grants.push(Grant::new(name, found.token, may, sites, rate));
    }
    Ok(Access::new(grants))
}

const fn permission(permission: model::Permission) -> Permission {
    match permission {
        model::Permission::Read => Permission::Read,
        model::Permission::Url => Permission::Url,
        model::Permission::Tag => Permission::Tag,
        model::Permission::Prefix => Permission::Prefix,
        model::Permission::Host => Permission::Host,
        model::Permission::Key => Permission::Key,
        model::Permission::All => Permission::All,
        model::Permission::Reload => Permission::Reload,
    }
}

pub(super) fn dialects(dialects: model::Dialects) -> Dialects {
    let model::Dialects {
        purge,
        xkey,
        ban,
        magento,
        fastly,
        cloudflare,
        souin,
    } = dialects;
    Dialects::default()
        .open(Dialect::Purge, purge)
        .open(Dialect::Xkey, xkey)
        .open(Dialect::Ban, ban)
        .open(Dialect::Magento, magento)
        .open(Dialect::Fastly, fastly)
        .open(Dialect::Cloudflare, cloudflare)
        .open(Dialect::Souin, souin)
}
