# How `sam build` makes each function's package (the makefile build method).
#
# LAMBDA_DEPENDENCIES=bundled   third-party packages for Lambda's own platform go into the package
# LAMBDA_DEPENDENCIES=provided  the runtime's environment has them: the local cloud's does
LAMBDA_DEPENDENCIES ?= bundled
LAMBDA_PLATFORM ?= manylinux2014_aarch64 manylinux_2_28_aarch64
LAMBDA_PYTHON ?= 3.13
LAMBDA_PIP ?= $(or $(wildcard .venv-sam/bin/python),python3) -m pip
LAMBDA_COMPILER ?= $(or $(wildcard .venv-sam/bin/python$(LAMBDA_PYTHON)),python$(LAMBDA_PYTHON))
# The path may contain spaces and quotes: from here on it is one shell word.
override ARTIFACTS_DIR := '$(subst ','\'',$(ARTIFACTS_DIR))'

define code # the function's folder: its own code, and the packages that the stages share
	mkdir -p $(ARTIFACTS_DIR)/lambdas
	cp lambdas/__init__.py $(ARTIFACTS_DIR)/lambdas/
	cp -R lambdas/$(1) $(ARTIFACTS_DIR)/lambdas/
	cp -R pipeline star_schema $(ARTIFACTS_DIR)/
endef

define dependencies # the function's folder: what requirements/lambda-<folder>.txt pins, trimmed
	if [ "$(LAMBDA_DEPENDENCIES)" = bundled ]; then \
		$(LAMBDA_PIP) install --quiet --no-compile --target $(ARTIFACTS_DIR) --only-binary=:all: \
			--implementation cp --python-version $(LAMBDA_PYTHON) \
			$(LAMBDA_PLATFORM:%=--platform %) \
			--no-deps --require-hashes --requirement requirements/lambda-$(1).txt && \
		grep -v '^#' make/lambda-trim.txt | \
			while read -r pattern; do rm -rf $(ARTIFACTS_DIR)/$$pattern; done; \
	fi
endef

define tidy # byte code of this machine's Python is no part of a package
	find $(ARTIFACTS_DIR) -name __pycache__ -prune -exec rm -rf {} +
endef

define compiled # byte code of Lambda's Python, where there is one: a function cannot keep its own
	if [ "$(LAMBDA_DEPENDENCIES)" = bundled ] && $(LAMBDA_COMPILER) -c '' 2>/dev/null; then \
		PYTHONHASHSEED=0 $(LAMBDA_COMPILER) -m compileall -q \
			--invalidation-mode unchecked-hash -s $(ARTIFACTS_DIR) -p /var/task $(ARTIFACTS_DIR); \
	fi
endef

.PHONY: build-IngestFunction build-LoadFunction build-PublishFunction build-GlueCodeFunction
build-IngestFunction:
	$(call code,ingest)
	$(call dependencies,ingest)
	$(tidy)
	$(compiled)

build-LoadFunction:
	$(call code,load)
	$(call dependencies,load)
	$(tidy)
	$(compiled)

build-PublishFunction:
	$(call code,publish)
	$(call dependencies,publish)
	$(tidy)
	$(compiled)

build-GlueCodeFunction:
	$(call code,glue_code)
	cp -R glue_jobs $(ARTIFACTS_DIR)/
	$(tidy)
