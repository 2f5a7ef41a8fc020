use tidegate_engine::ports::PortError;

/// Runs what waits for the disk or for processes where waiting is allowed.
pub(crate) async fn blocking<T, F>(work: F) -> Result<T, PortError>
where
    T: Send + 'static,
    F: FnOnce() -> Result<T, PortError> + Send + 'static,
{
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| PortError::fatal(format!("work in the background failed: {error}")))?
}
