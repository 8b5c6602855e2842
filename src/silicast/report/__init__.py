"""What a forecast looks like: numbers for people, tables, charts and pages."""
