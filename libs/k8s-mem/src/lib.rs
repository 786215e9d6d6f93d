//! crater-k8s-mem
