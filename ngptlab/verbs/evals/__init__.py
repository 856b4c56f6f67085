"""One file an evaluation of finished runs. Each has `add`, its options, and `act`, from models to tables and figures."""
