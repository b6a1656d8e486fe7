"""One file a structure; a registry, nothing else, knows them all."""
