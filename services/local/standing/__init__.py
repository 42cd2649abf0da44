"""What runs and how it is: read from the workers' pages and from Kafka, told on a terminal or as JSON."""
