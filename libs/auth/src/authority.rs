//! All that a process knows of identities, and the one place where a call is judged.

use std::time::SystemTime;

use crater_api::access::Level;
use http::{HeaderMap, HeaderValue, header::AUTHORIZATION};

use crate::directory::Entry;
use crate::token::{self, Token};
use crate::{
    AccessClaims, AuthLayer, Caller, Directory, Error, KeySet, MeshKey, Principal, SERVICE_TOKEN_HEADER,
    ServiceIdentity,
};

/// Keys and identities of one process. Clones share them.
#[derive(Clone)]
pub struct Authority {
    keys: KeySet,
    mesh: MeshKey,
    directory: Directory,
}

/// A call that may go on.
pub(crate) struct Admitted {
    pub(crate) caller: Caller,
    /// The claims to watch while a response stream is open; none for a service.
    pub(crate) claims: Option<AccessClaims>,
}

impl Authority {
    /// Knows nothing yet but the mesh key: feed it with [`Authority::follow`], or through its parts.
    pub fn new(mesh: MeshKey) -> Self {
        Self { keys: KeySet::new(), mesh, directory: Directory::new() }
    }

    pub fn keys(&self) -> &KeySet {
        &self.keys
    }

    pub fn directory(&self) -> &Directory {
        &self.directory
    }

    /// Who the service called `name` is to other services.
    pub fn identity(&self, name: &str) -> ServiceIdentity {
        ServiceIdentity::new(self.mesh.clone(), name)
    }

    /// The guard of a service.
    pub fn layer(&self) -> AuthLayer {
        AuthLayer::new(self.clone(), false)
    }

    /// The guard of the gateway: services are nobody there, and what is for services only does not exist.
    pub fn edge_layer(&self) -> AuthLayer {
        AuthLayer::new(self.clone(), true)
    }

    /// Judges a call by its headers. `None`: the method is for anybody.
    pub(crate) async fn judge(
        &self,
        headers: &HeaderMap,
        level: Level,
        edge: bool,
    ) -> Result<Option<Admitted>, Error> {
        if level == Level::Public {
            return Ok(None);
        }
        let authorization = single(headers, AUTHORIZATION.as_str())?;
        let token = match authorization {
            Some(value) => Some(self.believe(bearer(value)?)?),
            None => None,
        };
        let token = match (token, single(headers, SERVICE_TOKEN_HEADER)?) {
            (Some(token), _) if level != Level::Service => Some(token),
            (token, None) => token,
            (_, Some(value)) => match self.believe(bearer(value)?)? {
                Token::Service(name) => Some(Token::Service(name)),
                Token::Access(_) => {
                    return Err(Error::TokenWrongKind { found: "access".to_owned(), wanted: "service" });
                }
            },
        };
        match token.ok_or(Error::TokenMissing)? {
            Token::Service(_) if edge => {
                Err(Error::TokenWrongKind { found: "service".to_owned(), wanted: "access" })
            }
            Token::Service(name) => {
                let principal = Principal::Service { name };
                let caller = Caller { principal, directory: self.directory.clone(), authorization: None };
                Ok(Some(Admitted { caller, claims: None }))
            }
            Token::Access(claims) => {
                let entry = self.directory.check_soon(&claims).await?;
                allowed(level, &entry)?;
                let principal = Principal::User {
                    user: claims.user.clone(),
                    session: claims.session.clone(),
                    platform_admin: entry.platform_admin(),
                };
                let authorization = authorization.cloned();
                let caller = Caller { principal, directory: self.directory.clone(), authorization };
                Ok(Some(Admitted { caller, claims: Some(claims) }))
            }
        }
    }

    fn believe(&self, token: &str) -> Result<Token, Error> {
        token::verify(token, &self.keys, &self.mesh, SystemTime::now())
    }
}

/// What of a method's level can be judged without its request. Accounts are named in requests: handlers ask about them.
pub(crate) fn allowed(level: Level, entry: &Entry) -> Result<(), Error> {
    match level {
        Level::Public | Level::Authenticated | Level::AccountMember | Level::AccountManager => Ok(()),
        Level::PlatformAdmin if entry.platform_admin() => Ok(()),
        Level::PlatformAdmin => Err(Error::NotPlatformAdmin),
        Level::Service => Err(Error::ServicesOnly),
    }
}

fn single<'a>(headers: &'a HeaderMap, name: &str) -> Result<Option<&'a HeaderValue>, Error> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (value, None) => Ok(value),
        (_, Some(_)) => Err(Error::TokenMalformed("there is more than one")),
    }
}

fn bearer(value: &HeaderValue) -> Result<&str, Error> {
    let text = value.to_str().map_err(|_| Error::TokenMalformed("it is not ASCII"))?;
    match text.split_once(' ') {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") && !token.is_empty() => Ok(token),
        _ => Err(Error::TokenMalformed("the header must be: Bearer and the token")),
    }
}
