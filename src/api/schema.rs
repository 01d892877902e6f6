//! Changes of schemas for the API server.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};

/// Gives every integer of the schema a format that the API server knows. kubectl prints a warning for
/// each `uint32`, which schemars writes. Its values fit into an `int64`.
pub(super) fn use_known_formats(schema: &mut JSONSchemaProps) {
    let is_integer = schema.type_.as_deref() == Some("integer");
    if let Some(format) = &mut schema.format
        && is_integer
        && format.starts_with("uint")
    {
        "int64".clone_into(format);
    }
    each_part(schema, &mut use_known_formats);
}

/// Lets null stand for absent, as in Kubernetes' own kinds: the API server removes a null where the schema does not
/// allow one, and server-side apply refuses it. schemars allows one wherever a field may be absent. Then a null that is
/// applied over an object leaves the defaults of its fields: a Sync of the whole repository, for `spec.sync`.
pub(super) fn forbid_nulls(schema: &mut JSONSchemaProps) {
    schema.nullable = None;
    each_part(schema, &mut forbid_nulls);
}

/// Calls `visit` with every schema inside of `schema`.
fn each_part(schema: &mut JSONSchemaProps, visit: &mut dyn FnMut(&mut JSONSchemaProps)) {
    let named = schema
        .properties
        .iter_mut()
        .flat_map(|map| map.values_mut());
    named.for_each(&mut *visit);
    match &mut schema.items {
        Some(JSONSchemaPropsOrArray::Schema(items)) => visit(items),
        Some(JSONSchemaPropsOrArray::Schemas(items)) => items.iter_mut().for_each(&mut *visit),
        None => (),
    }
    if let Some(JSONSchemaPropsOrBool::Schema(values)) = &mut schema.additional_properties {
        visit(values);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    /// The formats that `GetUnrecognizedFormats` of k8s.io/apiextensions-apiserver 0.36 accepts without a
    /// warning, and that these definitions may use.
    fn is_known(kind: &str, format: &str) -> bool {
        match kind {
            "" | "string" => matches!(format, "byte" | "date" | "date-time" | "duration" | "uri"),
            "integer" => matches!(format, "int32" | "int64"),
            "number" => matches!(format, "float" | "double"),
            _ => false,
        }
    }

    fn unknown_formats(place: &str, value: &Value, found: &mut Vec<String>) {
        if let Value::Array(items) = value {
            items
                .iter()
                .for_each(|item| unknown_formats(place, item, found));
        }
        let Value::Object(map) = value else { return };
        let text = |key| map.get(key).and_then(Value::as_str);
        if let Some(format) = text("format")
            && !is_known(text("type").unwrap_or_default(), format)
        {
            found.push(format!("{place}: {format}"));
        }
        for (key, value) in map {
            unknown_formats(&format!("{place}.{key}"), value, found);
        }
    }

    /// kubectl prints the API server's warnings, such as `unrecognized format "uint32"`.
    #[test]
    fn the_api_server_knows_every_format() {
        for crd in crate::api::crds() {
            let mut found = Vec::new();
            let crd = serde_json::to_value(crd).unwrap();
            unknown_formats("", &crd, &mut found);
            assert_eq!(found, [""; 0]);
        }
    }
}
