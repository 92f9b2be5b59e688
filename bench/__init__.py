"""What an image costs besides Pixelcut's own price and time: measured figures, each from one command."""
