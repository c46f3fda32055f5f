//! Lists in a record that have a longest length: each of their elements takes a lot of memory, however
//! short its text is.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, Deserializer, Error, SeqAccess, Visitor};

/// Reads a list of at most `MAX` elements, or `null`.
///
/// # Errors
///
/// There are more, or they are not what they should be.
pub(super) fn read<'de, D, T, const MAX: usize>(deserializer: D) -> Result<Option<Vec<T>>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    Ok(Option::<Bounded<T, MAX>>::deserialize(deserializer)?.map(|bounded| bounded.0))
}

struct Bounded<T, const MAX: usize>(Vec<T>);

struct BoundedVisitor<T, const MAX: usize>(PhantomData<T>);

impl<'de, T: Deserialize<'de>, const MAX: usize> Deserialize<'de> for Bounded<T, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(BoundedVisitor(PhantomData))
    }
}

impl<'de, T: Deserialize<'de>, const MAX: usize> Visitor<'de> for BoundedVisitor<T, MAX> {
    type Value = Bounded<T, MAX>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a list of at most {MAX}")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let mut elements = Vec::new();
        while let Some(element) = list.next_element()? {
            if elements.len() == MAX {
                return Err(A::Error::custom(format!("a list of more than {MAX}")));
            }
            elements.push(element);
        }
        Ok(Bounded(elements))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn longer_lists_are_errors() {
        let read = |text: &str| {
            let mut json = serde_json::Deserializer::from_str(text);
            read::<_, u8, 2>(&mut json).map_err(|error| error.to_string())
        };
        assert_eq!(read("null"), Ok(None));
        assert_eq!(read("[]"), Ok(Some(vec![])));
        assert_eq!(read("[1, 2]"), Ok(Some(vec![1, 2])));
        assert!(read("[1, 2, 3]").unwrap_err().starts_with("a list of more than 2"));
        assert!(read("7").unwrap_err().contains("expected a list of at most 2"));
    }
}
