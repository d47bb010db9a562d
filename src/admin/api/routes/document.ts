/** /openapi.json: the description of this API; needs no token. */
import type { ApiRoute } from '../route.ts';

export const documentRoutes: readonly ApiRoute[] = [
  {
    method: 'GET',
    path: '/openapi.json',
    role: null,
    id: 'getOpenApi',
    summary: 'This description',
    answers: {
      200: { description: 'An OpenAPI 3.1 document.', schema: { type: 'object' } },
    },
    changes: false,
    // Anybody may ask: it is made once.
    handle: (_call, { openApi }) => ({ status: 200, text: openApi }),
  },
];
