//! Members, probes, suspicion, dissemination, push-pull
