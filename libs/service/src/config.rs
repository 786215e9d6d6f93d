//! Configuration: defaults < file < environment. Flags come last and are the program's own business.

use std::path::Path;

use figment::Figment;
use figment::providers::{Env, Format, Serialized, Toml};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::Error;

/// Reads a configuration: `T`'s defaults, overridden by the TOML `file`, overridden by variables that start with
/// `env_prefix` and two underscores, a further two for each level: with `CRATER_JOB` the key `server.listen` is
/// `CRATER_JOB__SERVER__LISTEN`. (Kubernetes sets `CRATER_JOB_PORT` and the like by itself; those are not ours.)
///
/// Give `T` and its parts `#[serde(deny_unknown_fields, default)]`: then a misspelt key is refused by its name.
pub fn load_config<T>(file: Option<&Path>, env_prefix: &str) -> Result<T, Error>
where
    T: Default + Serialize + DeserializeOwned,
{
    let mut layers = Figment::from(Serialized::defaults(T::default()));
    if let Some(file) = file {
        layers = layers.merge(Toml::file_exact(file));
    }
    layers = layers.merge(Env::prefixed(&format!("{env_prefix}__")).split("__"));
    layers.extract().map_err(|error| Error::Config(Box::new(error)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ServerConfig;
    use serde::Deserialize;
    use std::io::Write;

    #[derive(Debug, Default, Serialize, Deserialize)]
    #[serde(deny_unknown_fields, default)]
    struct Config {
        server: ServerConfig,
    }

    fn file(text: &str) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        file
    }

    #[test]
    fn a_file_overrides_the_defaults_key_by_key() {
        let file = file("[server]\nlisten = \"127.0.0.1:7\"\n");
        let config: Config = load_config(Some(file.path()), "CRATER_TEST_NONE").unwrap();
        assert_eq!(config.server.listen.port(), 7);
        assert_eq!(config.server.calls, ServerConfig::default().calls);
    }

    #[test]
    fn an_unknown_key_is_refused_by_its_name() {
        let file = file("[server]\nlisen = \"127.0.0.1:7\"\n");
        let error = load_config::<Config>(Some(file.path()), "CRATER_TEST_NONE").unwrap_err().to_string();
        assert!(error.contains("lisen"), "{error}");
    }

    #[test]
    fn a_file_that_is_not_there_is_an_error() {
        let error = load_config::<Config>(Some(Path::new("/nowhere/crater.toml")), "CRATER_TEST_NONE");
        assert!(error.is_err());
    }
}
