// A provider for the system tests of node/auth: the package oidc-provider with
// four people, and a sign-in page that a script can fill in.
import http from 'node:http'
import { pathToFileURL } from 'node:url'

const [folder, issuer, back] = process.argv.slice(2)
const { Provider } = await import(pathToFileURL(folder + '/node_modules/oidc-provider/lib/index.js'))

const people = {
  anne: { name: 'Anne Martin', roles: ['teacher'] },
  paul: { name: 'Paul Durand', roles: ['teacher', 'school'] },
  ines: { name: 'Inès Petit', roles: ['it'] },
  leo: { name: 'Léo', roles: ['pupil'] },
}
const client = (id, more) => ({
  client_id: id, redirect_uris: [back + '/sign-in/return'], post_logout_redirect_uris: [back + '/'],
  grant_types: ['authorization_code'], response_types: ['code'], ...more,
})
const provider = new Provider(issuer, {
  clients: [
    client('box', { client_secret: 'a secret of the box, long enough' }),
    client('public', { token_endpoint_auth_method: 'none' }),
    client('brief', { token_endpoint_auth_method: 'none' }),
  ],
  claims: { openid: ['sub', 'acr', 'amr'], profile: ['name', 'roles'] },
  acrValues: ['urn:example:mfa'],
  features: { devInteractions: { enabled: false }, rpInitiatedLogout: { enabled: true } },
  findAccount: (ctx, id) => people[id] && ({ accountId: id, claims: async () => ({ sub: id, ...people[id] }) }),
  interactions: { url: (ctx, interaction) => `/interaction/${interaction.uid}` },
  pkce: { required: () => true },
  ttl: { IdToken: (ctx, token, c) => c.clientId === 'brief' ? 1 : 300, Session: 3600, Grant: 3600, Interaction: 3600 },
  cookies: { keys: ['only for a test'] },
})

const answers = provider.callback()
http.createServer(async (req, res) => {
  if (!req.url.startsWith('/interaction/')) return answers(req, res)
  try {
    const { params, prompt, session } = await provider.interactionDetails(req, res)
    if (req.method !== 'POST') {
      res.setHeader('content-type', 'text/html')
      return res.end(`<!doctype html><html lang="fr"><title>Le compte</title><form method="post"><p>${prompt.name} ${params.acr_values || 'any factor'}</p>
<label>Identifiant <input name="login"></label> <label><input type="checkbox" name="factor" value="yes"> second facteur</label> <button>Continuer</button></form>`)
    }
    let body = ''
    for await (const part of req) body += part
    const form = new URLSearchParams(body)
    if (form.get('login') === '') {
      return await provider.interactionFinished(req, res, { error: 'access_denied', error_description: 'cancelled' }, { mergeWithLastSubmission: false })
    }
    const accountId = form.get('login') || session.accountId
    const grant = new provider.Grant({ accountId, clientId: params.client_id })
    grant.addOIDCScope('openid profile')
    const factor = form.get('factor') === 'yes'
    await provider.interactionFinished(req, res, {
      login: { accountId, acr: factor ? 'urn:example:mfa' : 'urn:example:password', amr: factor ? ['pwd', 'otp', 'mfa'] : ['pwd'] },
      consent: { grantId: await grant.save() },
    }, { mergeWithLastSubmission: false })
  } catch (err) {
    res.statusCode = 500
    res.end(String(err.stack))
  }
}).listen(new URL(issuer).port, '127.0.0.1', () => console.log('ready'))
