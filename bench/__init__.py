"""What an image costs besides Pixelcut's own price and time: measured, each part by one command."""
