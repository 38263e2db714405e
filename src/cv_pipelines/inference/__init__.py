"""Using trained models: on files, videos and sensor tables, and outside of this project."""
