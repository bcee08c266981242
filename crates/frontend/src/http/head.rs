//! The checks of a request's head that hyper leaves to us. (Of two framings it takes the chunks and closes the
//! connection after them; every other ambiguity of lengths and lines it refuses itself.)

use hyper::header::HOST;
use hyper::{Request, Version};

use super::problem::Problem;
use super::stated;

/// Refuses what another HTTP implementation on the way may have read differently, and what is not understood.
pub(super) fn check<B>(request: &Request<B>) -> Result<(), Problem> {
    let hosts = request.headers().get_all(HOST).iter().count();
    if hosts > 1 || (hosts == 0 && request.version() == Version::HTTP_11) {
        return Err(Problem::bad_request("an HTTP/1.1 request has one Host header").closing());
    }
    stated::check_head(request.headers())
}
