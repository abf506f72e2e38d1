"""A gateway's small durable values, in memory."""


class Memory:
    def __init__(self):
        self.values = {}
        self.puts = 0

    def get(self, name):
        return self.values.get(name)

    def put(self, name, value):
        self.values[name] = value
        self.puts += 1

    def remove(self, name):
        self.values.pop(name, None)
