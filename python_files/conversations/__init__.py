"""Phase 5: from many kinds of conversations to masked rows of token ids."""
