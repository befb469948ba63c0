"""What a server needs that strangers use: health, metrics, logs, an orderly end."""
