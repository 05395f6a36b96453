"""A trained model for other programs: Hugging Face folders and GGUF files."""
