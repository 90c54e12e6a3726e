"""What all tests take from the command line."""


def pytest_addoption(parser):
    parser.addoption("--device", default="cpu", help="where the tests of devices compute: cpu, cuda, cuda:1")
