"""Falls on recordings of real people: replay, measure, train, report, export."""
