"""Phase 7: from a trained model to text, and to a talk in turns."""
