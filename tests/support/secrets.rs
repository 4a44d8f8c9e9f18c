//! Secrets in moto's Secrets Manager, over its own protocol (JSON 1.1), so that the SDK under test is not used for
//! both sides.

use serde_json::{Value, json};

use super::moto::Moto;

/// A secret that a test may change.
pub struct StoredSecret<'m> {
    moto: &'m Moto,
    http: reqwest::Client,
    pub arn: String,
}

impl<'m> StoredSecret<'m> {
    pub async fn new(moto: &'m Moto, name: &str, text: &str) -> Self {
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        let mut secret = Self {
            moto,
            http,
            arn: String::new(),
        };
        let made = secret
            .call("CreateSecret", &json!({"Name": name, "SecretString": text}))
            .await;
        made["ARN"].as_str().unwrap().clone_into(&mut secret.arn);
        secret
    }

    /// Gives it a new current version.
    pub async fn rotate(&self, text: &str) {
        let asked = json!({"SecretId": self.arn, "SecretString": text});
        self.call("PutSecretValue", &asked).await;
    }

    /// The same, as bytes.
    pub async fn rotate_to_bytes(&self, base64: &str) {
        let asked = json!({"SecretId": self.arn, "SecretBinary": base64});
        self.call("PutSecretValue", &asked).await;
    }

    /// Marks it for deletion, as somebody does who cleans up.
    pub async fn delete(&self) {
        self.call("DeleteSecret", &json!({"SecretId": self.arn})).await;
    }

    async fn call(&self, action: &str, asked: &Value) -> Value {
        // moto finds service and region in here and does not check the signature.
        let region = self.moto.region();
        let credential =
            format!("AWS4-HMAC-SHA256 Credential=test/20260101/{region}/secretsmanager/aws4_request");
        let answer = self
            .http
            .post(self.moto.endpoint())
            .header(
                "Authorization",
                format!("{credential}, SignedHeaders=host, Signature=none"),
            )
            .header("X-Amz-Target", format!("secretsmanager.{action}"))
            .header("Content-Type", "application/x-amz-json-1.1")
            .body(asked.to_string())
            .send()
            .await
            .unwrap();
        let status = answer.status();
        let text = answer.text().await.unwrap();
        assert!(status.is_success(), "{action}: {status}: {text}");
        serde_json::from_str(&text).unwrap()
    }
}
