//! The node's admin API, as its operator asks it.

use serde_json::Value;

use crate::client::Client;
use crate::node::Node;
use crate::response::Response;

impl Node {
    /// Asks the admin listener with the operator's token, on a connection of its own.
    pub async fn api(&self, method: &str, target: &str, body: &str) -> Response {
        self.api_as(self.token(), (method, target), body).await
    }

    /// Asks the admin listener with a token.
    pub async fn api_as(
        &self,
        token: &str,
        (method, target): (&str, &str),
        body: &str,
    ) -> Response {
        let bearer = format!("Bearer {token}");
        let fields = [("Authorization", bearer.as_str())];
        let mut client = Client::connect(self.admin()).await;
        client
            .upload(method, target, &fields, body.as_bytes())
            .await
    }

    /// Purges, and expects that it is applied: the receipt.
    pub async fn purge(&self, body: &str) -> Value {
        let answer = self.api("POST", "/v1/purges", body).await;
        assert_eq!(answer.status, 200, "{body}: {}", answer.text());
        serde_json::from_slice(&answer.body).expect("a receipt")
    }
}
