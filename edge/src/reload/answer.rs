//! `POST /v1/reload`.

use std::sync::Arc;

use bytes::Bytes;
use http::{Response, StatusCode};
use purge_api::{Asked, Permission, Problem, Reloaded};

use crate::node::Node;

/// Answers a request to the admin API that is to reload; none if it is about something else.
pub(crate) async fn answer(node: &Arc<Node>, asked: &Asked<'_>) -> Option<Response<Bytes>> {
    if asked.target.split('?').next() != Some("/v1/reload") {
        return None;
    }
    let in_force = node.in_force_now();
    let by = match in_force.api.permit(asked, &**node, Permission::Reload) {
        Ok(by) => by,
        Err(refused) => return Some(*refused),
    };
    let who = format!("{by} at {}", asked.client.to_canonical());
    Some(match node.reload(&who).await {
        Ok(taken) => {
            let document = serde_json::to_vec(&Reloaded::from(taken)).unwrap_or_default();
            purge_api::document(StatusCode::OK, document.into())
        }
        Err(why) => purge_api::refuse(asked, &**node, Some(&by), &Problem::from(why)),
    })
}
