"""Pictures that QMNIST lacks, and the project makes: to learn from, and to be measured on."""
