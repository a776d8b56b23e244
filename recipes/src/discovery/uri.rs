use super::instance::ServiceInstance;

/// How to make a URI of an instance: text with variables.
///
/// # Source
/// Apache Curator 5, `UriSpec`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct UriSpec {
    parts: Vec<UriPart>,
}

/// A piece of a [`UriSpec`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UriPart {
    /// The text, or the name of the variable.
    pub value: String,
    /// Whether it is a variable.
    pub variable: bool,
}

impl UriSpec {
    /// Reads a template such as `{scheme}://{address}:{port}/v1`. Braces that stand for themselves are
    /// written `{[}` and `{]}`; one that is not closed is text.
    ///
    /// Variables are `scheme` (`https` with a TLS port, `http` without), `name`, `id`, `address`, `port`,
    /// `ssl-port`, `registration-time-utc` and `service-type`. Any other becomes empty text.
    pub fn parse(template: &str) -> Self {
        let mut parts = Vec::new();
        let mut rest = template;
        let text = |value: &str| UriPart {
            value: value.to_owned(),
            variable: false,
        };
        while let Some((before, after)) = rest.split_once('{') {
            let Some((variable, behind)) = after.split_once('}') else {
                break;
            };
            if !before.is_empty() {
                parts.push(text(before));
            }
            parts.push(UriPart {
                value: variable.trim().to_owned(),
                variable: true,
            });
            rest = behind;
        }
        if !rest.is_empty() {
            parts.push(text(rest));
        }
        Self { parts }
    }

    /// A spec of these pieces.
    pub fn of(parts: impl IntoIterator<Item = UriPart>) -> Self {
        Self {
            parts: parts.into_iter().collect(),
        }
    }

    /// The pieces.
    pub fn parts(&self) -> &[UriPart] {
        &self.parts
    }

    /// The URI of an instance.
    pub fn build<T>(&self, instance: &ServiceInstance<T>) -> String {
        let mut uri = String::new();
        for part in &self.parts {
            if !part.variable {
                uri.push_str(&part.value);
                continue;
            }
            let number = |number: Option<i32>| number.map(|n| n.to_string()).unwrap_or_default();
            uri.push_str(&match part.value.as_str() {
                "[" => "{".to_owned(),
                "]" => "}".to_owned(),
                "scheme" if instance.ssl_port.is_some() => "https".to_owned(),
                "scheme" => "http".to_owned(),
                "name" => instance.name.clone(),
                "id" => instance.id.clone(),
                "address" => instance.address.clone().unwrap_or_default(),
                "port" => number(instance.port),
                "ssl-port" => number(instance.ssl_port),
                "registration-time-utc" => instance.registration_time_utc.to_string(),
                "service-type" => instance.service_type.text().to_ascii_lowercase(),
                _ => String::new(),
            });
        }
        uri
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_put_in() {
        let instance = ServiceInstance::<()>::new("api")
            .id("7")
            .address("h")
            .port(80);
        let uri = |template| UriSpec::parse(template).build(&instance);
        assert_eq!(
            uri("{scheme}://{address}:{port}/{name}/{id}"),
            "http://h:80/api/7"
        );
        assert_eq!(uri("{ssl-port}|{nothing}|{service-type}"), "||dynamic");
        assert_eq!(uri("a{[}b{]}c"), "a{b}c");
        assert_eq!(uri("open{brace"), "open{brace");
        let instance = instance.ssl_port(443);
        assert_eq!(
            UriSpec::parse("{scheme}:{ssl-port}").build(&instance),
            "https:443"
        );
    }
}
