"""What the model must beat, under the model's own contract: (B, L, D) in, (B, H, D) out."""
