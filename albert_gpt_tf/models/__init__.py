"""The architectures: one readable file each for ALBERT and GPT, their shared layers, their sizes."""
