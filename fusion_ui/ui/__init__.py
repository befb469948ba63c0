"""The page: layout, wiring and drawing. No mathematics lives here."""

import os

os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # no telemetry; gradio reads it when it is imported
