//! `entrenous token`

use anyhow::bail;

use super::arguments::{Role, Token};
use super::{now, print};
use crate::http::authentication::{TokenClaims, TokenSigner};

pub(super) fn run(token: &Token) -> anyhow::Result<()> {
    if token.keys.are_public() {
        bail!("tokens verified by a public key are signed by whoever has the private one: your application");
    }
    if !token.ttl.is_positive() {
        bail!("a token lasts longer than {}", token.ttl);
    }
    let secret = token.keys.secret_or_own(&token.data.data)?;
    let roles: Vec<_> = token.role.iter().copied().map(Role::name).collect();
    let iat = now().0.div_euclid(1_000_000);
    let signed = TokenSigner::new(&secret).sign(&TokenClaims {
        sub: token.user.as_str(),
        name: token.name.as_deref(),
        roles: &roles,
        iat,
        exp: iat.saturating_add(token.ttl.as_secs()),
        iss: token.keys.token_issuer.as_deref(),
        aud: token.keys.token_audience.as_deref(),
    });
    print(&format!("{signed}\n"))
}
