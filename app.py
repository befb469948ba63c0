"""Launch the page: settings from the environment, the demo prepared, the server started."""

from fusion_ui.cli import main

if __name__ == "__main__":
    main(["serve"])
