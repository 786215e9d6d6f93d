//! crater-k8s
