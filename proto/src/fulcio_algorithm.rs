// The algorithm is a hint that the authority ignores, and published clients send names that no list holds ("", "RSA"):
// any string or number is read, and what is not known becomes unspecified.
impl serde::Serialize for PublicKeyAlgorithm {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str_name())
    }
}

impl<'de> serde::Deserialize<'de> for PublicKeyAlgorithm {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = serde_json::Value::deserialize(deserializer)?;
        let known = match &value {
            serde_json::Value::String(name) => Self::from_str_name(name),
            serde_json::Value::Number(number) => number
                .as_i64()
                .and_then(|n| i32::try_from(n).ok())
                .and_then(|n| Self::try_from(n).ok()),
            _ => None,
        };
        Ok(known.unwrap_or(Self::Unspecified))
    }
}
