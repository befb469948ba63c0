"""Where bytes come from: the package index, a code host, the model hub, and the verified local cache."""
