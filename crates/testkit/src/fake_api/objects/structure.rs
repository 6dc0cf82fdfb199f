//! A schema of a CRD, read once: what it says of the structure of a value. Its rules are elsewhere.

use std::collections::BTreeMap;

use serde_json::Value;

/// A value's type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Type {
    Object,
    Array,
    String,
    Integer,
    Boolean,
    /// The schema does not say.
    Unsaid,
}

impl Type {
    fn parse(schema: &Value) -> Self {
        match schema["type"].as_str() {
            Some("object") => Self::Object,
            Some("array") => Self::Array,
            Some("string") => Self::String,
            Some("integer") => Self::Integer,
            Some("boolean") => Self::Boolean,
            Some(other) => panic!("no schema of ours has the type {other}"),
            None => Self::Unsaid,
        }
    }

    /// As in the schema.
    pub(crate) fn name(self) -> Option<&'static str> {
        match self {
            Self::Object => Some("object"),
            Self::Array => Some("array"),
            Self::String => Some("string"),
            Self::Integer => Some("integer"),
            Self::Boolean => Some("boolean"),
            Self::Unsaid => None,
        }
    }
}

/// What the items of a list are known by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum List {
    /// By nothing: the list is one value.
    Atomic,
    /// By themselves.
    Set,
    /// By these fields.
    Map(Vec<String>),
}

impl List {
    fn parse(schema: &Value) -> Self {
        let keys = || schema["x-kubernetes-list-map-keys"].as_array();
        match schema["x-kubernetes-list-type"].as_str() {
            Some("set") => Self::Set,
            Some("map") => keys().map_or(Self::Atomic, |keys| Self::Map(texts(keys))),
            _ => Self::Atomic,
        }
    }
}

/// What a value must be like.
#[derive(Debug, Clone)]
pub(crate) struct Structure {
    pub(crate) kind: Type,
    pub(crate) nullable: bool,
    pub(crate) default: Option<Value>,
    /// Least and greatest length of a text, list or object.
    pub(crate) bounds: (Option<usize>, Option<usize>),
    pub(crate) is_time: bool,
    /// The texts that it may be; none: any.
    pub(crate) choices: Vec<String>,
    pub(crate) required: Vec<String>,
    pub(crate) fields: BTreeMap<String, Structure>,
    /// Fields of any other name.
    pub(crate) others: Option<Box<Structure>>,
    items: Option<Box<Structure>>,
    pub(crate) list: List,
}

/// Of a value of which nothing is said.
static NOTHING: Structure = Structure {
    kind: Type::Unsaid,
    nullable: false,
    default: None,
    bounds: (None, None),
    is_time: false,
    choices: Vec::new(),
    required: Vec::new(),
    fields: BTreeMap::new(),
    others: None,
    items: None,
    list: List::Atomic,
};

fn texts(values: &[Value]) -> Vec<String> {
    let texts = values.iter().filter_map(Value::as_str);
    texts.map(str::to_owned).collect()
}

impl Structure {
    /// As an `openAPIV3Schema` says.
    pub(crate) fn parse(schema: &Value) -> Self {
        let kind = Type::parse(schema);
        let (least, most) = match kind {
            Type::Object => ("minProperties", "maxProperties"),
            Type::Array => ("minItems", "maxItems"),
            Type::String | Type::Integer | Type::Boolean | Type::Unsaid => ("minLength", "maxLength"),
        };
        let words = |name: &str| schema[name].as_array().map_or_else(Vec::new, |names| texts(names));
        let limit = |name: &str| schema[name].as_u64().and_then(|limit| usize::try_from(limit).ok());
        let below = |name: &str| schema.get(name).map(|below| Box::new(Self::parse(below)));
        let fields = schema["properties"].as_object().into_iter().flatten();
        Self {
            kind,
            nullable: schema["nullable"] == true,
            default: schema.get("default").cloned(),
            bounds: (limit(least), limit(most)),
            is_time: schema["format"] == "date-time",
            choices: words("enum"),
            required: words("required"),
            fields: fields.map(|(name, field)| (name.clone(), Self::parse(field))).collect(),
            others: below("additionalProperties"),
            items: below("items"),
            list: List::parse(schema),
        }
    }

    /// Of a field, if there may be one of that name.
    pub(crate) fn field(&self, name: &str) -> Option<&Self> {
        self.fields.get(name).or(self.others.as_deref())
    }

    /// Of a field, whether or not there may be one of that name.
    pub(crate) fn at(&self, name: &str) -> &Self {
        self.field(name).unwrap_or(&NOTHING)
    }

    /// Of the items of a list.
    pub(crate) fn items(&self) -> &Self {
        self.items.as_deref().unwrap_or(&NOTHING)
    }

    /// Whether so many letters, items or fields are allowed.
    pub(crate) fn allows(&self, size: usize) -> bool {
        let (least, most) = self.bounds;
        least.is_none_or(|least| size >= least) && most.is_none_or(|most| size <= most)
    }

    /// What an item of a list is known by: its keys in a map, itself in a set; nothing where the list is one value.
    pub(crate) fn name_of_item(&self, item: &Value) -> Option<String> {
        match &self.list {
            List::Atomic => None,
            List::Set => Some(item.to_string()),
            List::Map(keys) => {
                let keys = keys.iter().map(|key| format!("{key}={}", item[key.as_str()]));
                Some(keys.collect::<Vec<_>>().join(","))
            }
        }
    }
}
