//! The certificates of an installation: those it gives to nodes, and its own, made anew in time without a restart.

use std::sync::{Arc, Mutex, PoisonError};

use time::OffsetDateTime;

use super::{Authority, OPERATOR_LIFETIME, OperatorIdentity, PkiError};

/// The time of day.
pub type Clock = Arc<dyn Fn() -> OffsetDateTime + Send + Sync>;

/// The authority with the operator's own certificate of the moment.
pub struct Certificates {
    authority: Authority,
    namespace: String,
    clock: Clock,
    own: Mutex<Option<(OffsetDateTime, Arc<OperatorIdentity>)>>,
}

impl Certificates {
    /// Of the installation in this namespace.
    #[must_use]
    pub fn new(authority: Authority, namespace: impl Into<String>, clock: Clock) -> Self {
        Self {
            authority,
            namespace: namespace.into(),
            clock,
            own: Mutex::default(),
        }
    }

    /// What both sides trust, PEM.
    #[must_use]
    pub fn authority_pem(&self) -> &str {
        self.authority.certificate_pem()
    }

    /// As [`Authority::issue_node`], now.
    ///
    /// # Errors
    /// As there.
    pub fn issue_node(&self, request_der: &[u8], node: &str) -> Result<String, PkiError> {
        self.authority.issue_node(request_der, node, (self.clock)())
    }

    /// The operator's own: the same as before (the same pointer) until half of its life is over, or the clock was put
    /// back to before it was made.
    ///
    /// # Errors
    /// It could not be made.
    pub fn own(&self) -> Result<Arc<OperatorIdentity>, PkiError> {
        let now = (self.clock)();
        let mut own = self.own.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((made, identity)) = &*own
            && (*made..*made + OPERATOR_LIFETIME / 2).contains(&now)
        {
            return Ok(Arc::clone(identity));
        }
        let identity = Arc::new(self.authority.issue_operator(&self.namespace, now)?);
        tracing::info!("the operator has a certificate");
        *own = Some((now, Arc::clone(&identity)));
        Ok(identity)
    }
}
