# How `sam build` makes each function's package (the makefile build method).
#
# LAMBDA_DEPENDENCIES=bundled   third-party packages for Lambda's own platform go into the package
# LAMBDA_DEPENDENCIES=provided  the runtime's environment has them: the local cloud's does
LAMBDA_DEPENDENCIES ?= bundled
LAMBDA_PLATFORM ?= manylinux2014_aarch64 manylinux_2_28_aarch64
LAMBDA_PYTHON ?= 3.13
LAMBDA_PIP ?= python3 -m pip

define package # name of the function's folder
	mkdir -p $(ARTIFACTS_DIR)/lambdas
	cp lambdas/__init__.py $(ARTIFACTS_DIR)/lambdas/
	cp -R lambdas/$(1) pipeline $(ARTIFACTS_DIR)/lambdas/
	mv $(ARTIFACTS_DIR)/lambdas/pipeline $(ARTIFACTS_DIR)/pipeline
	find $(ARTIFACTS_DIR) -name __pycache__ -prune -exec rm -rf {} +
	if [ "$(LAMBDA_DEPENDENCIES)" = bundled ]; then \
		$(LAMBDA_PIP) install --quiet --no-compile --target $(ARTIFACTS_DIR) --only-binary=:all: \
			--implementation cp --python-version $(LAMBDA_PYTHON) \
			$(LAMBDA_PLATFORM:%=--platform %) --require-hashes -r requirements/lambda-$(1).txt; \
	fi
endef

define star_sql # the SELECTs, which say what the star schema joins
	mkdir -p $(ARTIFACTS_DIR)/glue_jobs/star_schema
	cp glue_jobs/__init__.py $(ARTIFACTS_DIR)/glue_jobs/
	cp glue_jobs/star_schema/__init__.py $(ARTIFACTS_DIR)/glue_jobs/star_schema/
	cp -R glue_jobs/star_schema/sql $(ARTIFACTS_DIR)/glue_jobs/star_schema/
	find $(ARTIFACTS_DIR)/glue_jobs -name __pycache__ -prune -exec rm -rf {} +
endef

.PHONY: build-IngestFunction build-LoadFunction build-PublishFunction build-GlueCodeFunction
build-IngestFunction:
	$(call package,ingest)
	$(star_sql)

build-LoadFunction:
	$(call package,load)

build-PublishFunction:
	$(call package,publish)

build-GlueCodeFunction: LAMBDA_DEPENDENCIES = provided
build-GlueCodeFunction:
	$(call package,glue_code)
	cp -R glue_jobs $(ARTIFACTS_DIR)/glue_jobs
	find $(ARTIFACTS_DIR)/glue_jobs -name __pycache__ -prune -exec rm -rf {} +
