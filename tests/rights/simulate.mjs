// Judges requests by AWS's evaluation logic: JSON on standard input, JSON on standard output.
// The argument is a file beside the folder of packages.
import { createRequire } from 'node:module'
import { json } from 'node:stream/consumers'

const { runSimulation } = createRequire(process.argv[2])('@cloud-copilot/iam-simulate')
const { account, policies, requests } = await json(process.stdin)

const decisions = []
for (const request of requests) {
  const { principal, action, resource, context, identityPolicies, resourcePolicy } = request
  const answer = await runSimulation({
    request: { principal, action, resource: { resource, accountId: account }, contextVariables: context },
    identityPolicies: policies[identityPolicies].map((policy, i) => ({ name: `${i}`, policy })),
    serviceControlPolicies: [],
    resourceControlPolicies: [],
    resourcePolicy: policies[resourcePolicy] ?? undefined
  }, {})
  if (answer.resultType === 'error') {
    throw new Error(`${JSON.stringify(request)}: ${JSON.stringify(answer.errors)}`)
  }
  const ignored = answer.resultType === 'single' ? answer.result.ignoredContextKeys : []
  if (ignored.length) throw new Error(`${action} has no condition key ${ignored}`)
  decisions.push(answer.overallResult)
}
process.stdout.write(JSON.stringify(decisions))
