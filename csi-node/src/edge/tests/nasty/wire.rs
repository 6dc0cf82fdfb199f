//! Messages of protobuf changed on the wire: any field of any message, however deep, without knowing which it is.

use prost::encoding::{decode_varint, encode_varint};

/// What becomes of a field, or of a whole message.
#[derive(Debug, Clone)]
pub(super) enum Change {
    /// It has these bytes: a text, or whatever they are.
    Is(Vec<u8>),
    /// It is this number.
    Counts(u64),
    /// It is not there.
    Gone,
    /// It is there twice.
    Twice,
    /// The message has these bytes at its end.
    More(Vec<u8>),
}

/// A field's number, and what it is.
#[derive(Debug, Clone)]
struct Field {
    number: u64,
    value: Value,
}

#[derive(Debug, Clone)]
enum Value {
    Number(u64),
    Bytes(Vec<u8>),
}

/// The fields of a message, when it is one; ours have no fixed-width numbers.
fn parse(mut bytes: &[u8]) -> Option<Vec<Field>> {
    let mut fields = Vec::new();
    while !bytes.is_empty() {
        let key = decode_varint(&mut bytes).ok()?;
        let value = match key & 7 {
            0 => Value::Number(decode_varint(&mut bytes).ok()?),
            2 => {
                let length = usize::try_from(decode_varint(&mut bytes).ok()?).ok()?;
                let (value, rest) = bytes.split_at_checked(length)?;
                bytes = rest;
                Value::Bytes(value.to_vec())
            }
            _ => return None,
        };
        fields.push(Field {
            number: key >> 3,
            value,
        });
    }
    Some(fields)
}

fn write(fields: &[Field]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for Field { number, value } in fields {
        match value {
            Value::Number(value) => {
                encode_varint(number << 3, &mut bytes);
                encode_varint(*value, &mut bytes);
            }
            Value::Bytes(value) => {
                encode_varint(number << 3 | 2, &mut bytes);
                encode_varint(value.len() as u64, &mut bytes);
                bytes.extend_from_slice(value);
            }
        }
    }
    bytes
}

/// The message with one field changed, found by a way down: which field, of that which, and so on.
pub(super) fn change(message: &[u8], way: &[usize], change: &Change) -> Vec<u8> {
    let fields = parse(message).filter(|fields| !fields.is_empty());
    let (Some(mut fields), [next, below @ ..]) = (fields, way) else {
        return match change {
            Change::Is(bytes) => bytes.clone(),
            Change::More(bytes) => [message, bytes].concat(),
            Change::Counts(_) | Change::Gone => Vec::new(),
            Change::Twice => message.repeat(2),
        };
    };
    let at = next % fields.len();
    let field = &mut fields[at];
    match (&mut field.value, change) {
        (Value::Bytes(inner), _) if !below.is_empty() && parse(inner).is_some() => {
            *inner = self::change(inner, below, change);
        }
        (_, Change::Is(bytes) | Change::More(bytes)) => field.value = Value::Bytes(bytes.clone()),
        (_, Change::Counts(number)) => field.value = Value::Number(*number),
        (_, Change::Gone) => drop(fields.remove(at)),
        (_, Change::Twice) => {
            let twice = field.clone();
            fields.push(twice);
        }
    }
    write(&fields)
}

/// The value of a field, found as by [`change`].
pub(super) fn find(message: &[u8], way: &[usize]) -> Option<Vec<u8>> {
    let [next, below @ ..] = way else { return None };
    let fields = parse(message).filter(|fields| !fields.is_empty())?;
    match &fields[next % fields.len()].value {
        Value::Number(number) => Some(number.to_string().into_bytes()),
        Value::Bytes(inner) => Some(find(inner, below).unwrap_or_else(|| inner.clone())),
    }
}
