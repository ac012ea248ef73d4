"""Reports: values read from the outputs become self-contained HTML pages."""
