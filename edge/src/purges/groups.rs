//! Cache groups (RFC 9875) as tags that no field can carry: a site's purges are then those of its groups, too.

use policy::packed::Fields;
use std::time::Duration;

use http::HeaderMap;
use policy::groups;
use purge_api::{Mode, Order, Scope};

use crate::exchange::Request;
use crate::node::Node;

/// Who is named as the one who purged.
const ACTOR: &str = "origin";
/// How long a response that invalidates waits until that is applied.
const PATIENCE: Duration = Duration::from_secs(2);
/// Why it was purged.
const REASON: &str = "Cache-Group-Invalidation";

/// The tags of the groups that a response belongs to.
pub(super) fn tags(request: &Request, response: &impl Fields) -> Vec<String> {
    if !response.has(groups::CACHE_GROUPS) {
        return Vec::new();
    }
    full_names(request, groups::memberships(response))
}

fn full_names(request: &Request, groups: Vec<String>) -> Vec<String> {
    let Some(uri) = request.uri() else {
        return Vec::new();
    };
    let names = groups.iter();
    names
        .filter_map(|group| groups::full_name(&uri, group))
        .collect()
}

impl Node {
    /// Invalidates the groups that the response to an unsafe request names, wherever the site is cached. It holds when
    /// this returns, so that who asks after the response sees what it did.
    pub(crate) async fn invalidate_groups(
        &self,
        request: &Request,
        succeeded: bool,
        response: &HeaderMap,
    ) {
        if !response.contains_key(groups::CACHE_GROUP_INVALIDATION) {
            return;
        }
        let named = groups::invalidated(request.method(), succeeded, response);
        let tags = full_names(request, named);
        if tags.is_empty() {
            return;
        }
        let site = &request.site.name;
        let scope = |tag| Scope::Tag {
            site: Some(site.clone()),
            tag,
        };
        let order = Order {
            id: purge_api::Node::new_id(self),
            scopes: tags.into_iter().map(scope).collect(),
            mode: Mode::Hard,
            reason: Some(REASON.to_owned()),
            actor: Some(ACTOR.to_owned()),
            by: "cache-groups".to_owned(),
            accepted_at: purge_api::Node::now(self),
        };
        let now = self.clock.instant();
        let in_force = self.in_force_now();
        match self
            .purges
            .purge(order, &in_force.sites, now, Some(PATIENCE))
            .await
        {
            Ok(_) => {}
            Err(error) => tracing::error!(%error, "cache groups were not invalidated"),
        }
    }
}
