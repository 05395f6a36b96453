"""Phase 2: from raw Project Gutenberg files to shards of token ids."""
