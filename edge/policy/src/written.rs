//! How the types of HTTP are written down. What is read is foreign: none of it is taken for valid.

/// A status code as its number.
pub(crate) mod status {
    use http::StatusCode;
    use serde::de::{Deserialize as _, Deserializer, Error as _};
    use serde::ser::Serializer;

    pub(crate) fn serialize<S: Serializer>(status: &StatusCode, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_u16(status.as_u16())
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<StatusCode, D::Error> {
        StatusCode::from_u16(u16::deserialize(from)?).map_err(D::Error::custom)
    }
}

/// Names of fields as a list.
pub(crate) mod names {
    use http::HeaderName;
    use serde::de::{Deserialize as _, Deserializer, Error as _};
    use serde::ser::Serializer;

    pub(crate) fn serialize<S: Serializer>(names: &[HeaderName], to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(names.iter().map(HeaderName::as_str))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Vec<HeaderName>, D::Error> {
        let names = Vec::<&str>::deserialize(from)?;
        let names = names
            .into_iter()
            .map(|name| HeaderName::from_bytes(name.as_bytes()));
        names.collect::<Result<_, _>>().map_err(D::Error::custom)
    }
}

/// Fields as a list of names and values. Those of one name keep their order.
pub(crate) mod fields {
    use std::fmt;

    use http::{HeaderMap, HeaderName, HeaderValue};
    use serde::de::{Deserialize, Deserializer, Error, SeqAccess, Visitor};
    use serde::ser::{Serialize, Serializer};

    use crate::packed::Fields;

    struct Value<T>(T);

    impl Serialize for Value<&[u8]> {
        fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
            to.serialize_bytes(self.0)
        }
    }

    impl<'de> Deserialize<'de> for Value<HeaderValue> {
        fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
            from.deserialize_bytes(ValueVisitor)
        }
    }

    struct ValueVisitor;

    impl Visitor<'_> for ValueVisitor {
        type Value = Value<HeaderValue>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("the value of a field")
        }

        fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Self::Value, E> {
            HeaderValue::from_bytes(bytes).map(Value).map_err(E::custom)
        }
    }

    struct FieldsVisitor;

    impl<'de> Visitor<'de> for FieldsVisitor {
        type Value = HeaderMap;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a list of fields")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<HeaderMap, A::Error> {
            let mut fields = HeaderMap::new();
            while let Some((name, value)) = list.next_element::<(&str, Value<HeaderValue>)>()? {
                let name = HeaderName::from_bytes(name.as_bytes()).map_err(A::Error::custom)?;
                let added = fields.try_append(name, value.0);
                added.map_err(A::Error::custom)?;
            }
            Ok(fields)
        }
    }

    pub(crate) fn serialize<F: Fields, S: Serializer>(
        fields: &F,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        to.collect_seq(fields.all().map(|(name, value)| (name, Value(value))))
    }

    pub(crate) fn deserialize<'de, F: From<HeaderMap>, D: Deserializer<'de>>(
        from: D,
    ) -> Result<F, D::Error> {
        from.deserialize_seq(FieldsVisitor).map(F::from)
    }
}
