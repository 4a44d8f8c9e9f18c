//! Secrets in moto's Secrets Manager, over its own protocol (JSON 1.1), so that the SDK under test is not used for
//! both sides.

use reqwest::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::moto::{Moto, succeeds};

/// A secret that a test may change.
pub struct StoredSecret<'m> {
    moto: &'m Moto,
    pub arn: String,
}

impl<'m> StoredSecret<'m> {
    pub async fn new(moto: &'m Moto, name: &str, text: &str) -> Self {
        let mut secret = Self {
            moto,
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
        let request = self
            .moto
            .request(Method::POST, "secretsmanager", "")
            .header("X-Amz-Target", format!("secretsmanager.{action}"))
            .header("Content-Type", "application/x-amz-json-1.1")
            .body(asked.to_string());
        serde_json::from_str(&succeeds(action, request).await).unwrap()
    }
}

/// A server that answers everything with this error.
pub async fn answering(status: &'static str, code: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let body = format!("{{\"__type\":\"{code}\",\"message\":\"said so\"}}");
            let answer = format!(
                "HTTP/1.1 {status}\r\ncontent-type: application/x-amz-json-1.1\r\nconnection: close\r\n\
                 content-length: {}\r\n\r\n{body}",
                body.len()
            );
            let mut asked = [0; 16 * 1024];
            let _ = stream.read(&mut asked).await;
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    format!("http://{address}")
}
